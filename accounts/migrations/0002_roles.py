from django.db import migrations

from common.policies import grant, tenant_table

ACTIVE_USER = "role = 'user' AND account_status = 'active'"


class Migration(migrations.Migration):
    """Who may do what with identities, and with Django's own tables.

    Users and tokens are read before the actor is known, so their policies do not ask for one.
    What `app` can write is bounded instead: it makes plain users, and no column that would
    raise somebody's standing.
    """

    dependencies = [
        ("accounts", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        grant("SELECT", "accounts_user", "app", "operator"),
        grant("INSERT", "accounts_user", "app", "operator"),
        grant("UPDATE (password, last_login, metadata)", "accounts_user", "app"),
        grant("UPDATE", "accounts_user", "operator"),
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_user ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY known_before_the_actor ON accounts_user FOR SELECT TO app USING (true)",
                f"""
                CREATE POLICY plain_users ON accounts_user FOR INSERT TO app
                WITH CHECK ({ACTIVE_USER})
                """,
                """
                CREATE POLICY own_credentials ON accounts_user FOR UPDATE TO app
                USING (role = 'user')
                """,
                "CREATE POLICY house ON accounts_user TO operator USING (true) WITH CHECK (true)",
            ],
            [
                "DROP POLICY house ON accounts_user",
                "DROP POLICY own_credentials ON accounts_user",
                "DROP POLICY plain_users ON accounts_user",
                "DROP POLICY known_before_the_actor ON accounts_user",
                "ALTER TABLE accounts_user DISABLE ROW LEVEL SECURITY",
            ],
        ),
        grant("SELECT, INSERT", "accounts_personalaccesstoken", "app", "operator"),
        grant(
            "UPDATE (last_used_at, revoked_at)", "accounts_personalaccesstoken", "app", "operator"
        ),
        tenant_table("accounts_recordedanswer", app="SELECT, INSERT", operator="SELECT, DELETE"),
        grant("SELECT", "django_migrations", "app", "operator"),
        grant("SELECT", "django_content_type", "app", "operator"),
        grant("SELECT", "auth_permission", "app", "operator"),
        grant("SELECT, INSERT, UPDATE, DELETE", "django_session", "operator"),
        grant("SELECT, INSERT", "django_admin_log", "operator"),
    ]
