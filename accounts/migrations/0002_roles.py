from django.db import migrations

from common.policies import ACTOR, grant, tenant_table

ACTIVE_USER = "role = 'user' AND account_status = 'active'"
THEMSELVES = f"id = {ACTOR} AND role = 'user'"


class Migration(migrations.Migration):
    """Who may do what with identities, and with Django's own tables.

    Users and tokens are read before the actor is known, so that policies for reading do not ask
    for one. What `app` can write is bounded: it makes plain users, no column that would raise
    somebody's standing, and tokens of the actor only.
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
                f"""
                CREATE POLICY own_credentials ON accounts_user FOR UPDATE TO app
                USING ({THEMSELVES}) WITH CHECK ({THEMSELVES})
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
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_personalaccesstoken ENABLE ROW LEVEL SECURITY",
                """
                CREATE POLICY known_before_the_actor ON accounts_personalaccesstoken
                FOR SELECT TO app USING (true)
                """,
                f"""
                CREATE POLICY own_tokens ON accounts_personalaccesstoken FOR INSERT TO app
                WITH CHECK (user_id = {ACTOR})
                """,
                # Its use is noted before the actor is known; only its owner ends it, for good.
                f"""
                CREATE POLICY use_or_revoke ON accounts_personalaccesstoken FOR UPDATE TO app
                USING (revoked_at IS NULL) WITH CHECK (revoked_at IS NULL OR user_id = {ACTOR})
                """,
                """
                CREATE POLICY house ON accounts_personalaccesstoken TO operator
                USING (true) WITH CHECK (true)
                """,
            ],
            [
                "DROP POLICY house ON accounts_personalaccesstoken",
                "DROP POLICY use_or_revoke ON accounts_personalaccesstoken",
                "DROP POLICY own_tokens ON accounts_personalaccesstoken",
                "DROP POLICY known_before_the_actor ON accounts_personalaccesstoken",
                "ALTER TABLE accounts_personalaccesstoken DISABLE ROW LEVEL SECURITY",
            ],
        ),
        tenant_table("accounts_recordedanswer", app="SELECT, INSERT", operator="SELECT, DELETE"),
        grant("SELECT", "django_migrations", "app", "operator"),
        grant("SELECT", "django_content_type", "app", "operator"),
        grant("SELECT", "auth_permission", "app", "operator"),
        grant("SELECT, INSERT, UPDATE, DELETE", "django_session", "operator"),
        grant("SELECT, INSERT", "django_admin_log", "operator"),
    ]
