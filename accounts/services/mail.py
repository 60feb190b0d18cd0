from accounts.mail import Mail, store_mail
from accounts.tasks import send_mail as send_mail_task
from common.queue import enqueue


def send_mail(mail: Mail) -> None:
    """Afterwards the mail goes out once the open transaction has committed."""
    row = store_mail(mail)
    enqueue(send_mail_task, str(row.pk))
