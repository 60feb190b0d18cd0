from django.db import migrations

from common.policies import show_planner_the_actor


class Migration(migrations.Migration):
    """The policy of recorded answers names the person so that the planner can look at it."""

    dependencies = [("accounts", "0003_capture")]

    operations = [show_planner_the_actor("accounts_recordedanswer")]
