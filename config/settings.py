"""Settings, all from the environment: `.env.example` lists every one of them.

Without DATABASE_URL and REDIS_URL the embedded services of this checkout are used, and safe
defaults for one machine apply. With them nothing secret has a default.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from psycopg.conninfo import make_conninfo

from common.addresses import TLS_DEMANDS, connection_parameters
from common.encryption.parsing import as_setting, keyring_of, root_key_of
from common.environment import (
    read_boolean,
    read_choice,
    read_integer,
    read_list,
    read_optional,
    read_pairs,
    read_text,
    read_url,
)
from embedded import Services

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where things run -------------------------------------------------------------------------

EMBEDDED = read_optional("DATABASE_URL") is None and read_optional("REDIS_URL") is None
LOCAL_DIR = Path(read_text("LOCAL_DIR", str(BASE_DIR / ".local")))
SERVICES = Services(LOCAL_DIR) if EMBEDDED else None
PROCESS = read_text("PROCESS", "manage")

DEBUG = read_boolean("DEBUG", default=False)
SECRET_KEY = read_text("SECRET_KEY", SERVICES.password("secret_key") if SERVICES else None)
# Live takes the next one.
PORT = read_integer("PORT", 8000, minimum=1, maximum=65_534)
WEB_SCHEMES = {"http", "https"}
SITE_URL = read_url("SITE_URL", schemes=WEB_SCHEMES, default=f"http://localhost:{PORT}")
LIVE_URL = read_url("LIVE_URL", schemes=WEB_SCHEMES, default=f"http://localhost:{PORT + 1}")
# Where the other processes reach live, if not at its public address.
LIVE_INTERNAL_URL = read_url("LIVE_INTERNAL_URL", schemes=WEB_SCHEMES, default=LIVE_URL)
ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if EMBEDDED else [])
CSRF_TRUSTED_ORIGINS = read_list("CSRF_TRUSTED_ORIGINS", [SITE_URL])
SAMPLE_DATA = read_boolean("SAMPLE_DATA", default=EMBEDDED)

# --- Databases: one, under a login for each role ----------------------------------------------

POSTGRES_SCHEMES = {"postgres", "postgresql"}
# Connections that one process keeps at most for each role; 0 opens one for each use.
DATABASE_POOL_SIZE = read_integer("DATABASE_POOL_SIZE", 0)
# How far connections must be encrypted. If nobody says: those to another machine must be.
DATABASE_TLS = (
    read_choice("DATABASE_TLS", list(TLS_DEMANDS), default="")
    if read_optional("DATABASE_TLS")
    else None
)


def plan_named(value: str) -> str:
    if value not in {"monthly", "yearly"}:
        raise ValueError(value)
    return value


def _embedded_database(services: Services, role: str) -> dict[str, Any]:
    return {
        "NAME": "commonplace",
        "USER": role,
        "PASSWORD": services.password(role),
        "HOST": services.postgres.host,
        "PORT": services.postgres.port,
    }


def _remote_database(variable: str) -> dict[str, Any]:
    address = read_url(variable, schemes=POSTGRES_SCHEMES)
    parts = connection_parameters(variable, address, DATABASE_TLS)
    names = {
        "dbname": "NAME",
        "user": "USER",
        "password": "PASSWORD",
        "host": "HOST",
        "port": "PORT",
    }
    entry: dict[str, Any] = {names[key]: value for key, value in parts.items() if key in names}
    entry["OPTIONS"] = {key: value for key, value in parts.items() if key not in names}
    return entry


def _database(variable: str, role: str, *, pool_size: int = 0) -> dict[str, Any]:
    entry = _embedded_database(SERVICES, role) if SERVICES else _remote_database(variable)
    options = entry.setdefault("OPTIONS", {})
    options["application_name"] = f"commonplace {PROCESS}"
    if pool_size:
        options["pool"] = {"min_size": 1, "max_size": pool_size, "timeout": 10}
    return {
        "ENGINE": "django.db.backends.postgresql",
        # Server-side cursors do not survive PgBouncer's transaction mode.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        # Connections in a pool do not survive a restart of the database.
        "CONN_HEALTH_CHECKS": True,
        **entry,
    }


DATABASES = {
    "default": _database("DATABASE_URL", "app", pool_size=DATABASE_POOL_SIZE),
    # What must leave a trace although the request fails is written through a connection of its own.
    "trace": _database("DATABASE_URL", "app", pool_size=min(DATABASE_POOL_SIZE, 2)),
}
if EMBEDDED or read_optional("DATABASE_OPERATOR_URL"):
    DATABASES["operator"] = _database(
        "DATABASE_OPERATOR_URL", "operator", pool_size=DATABASE_POOL_SIZE
    )
    DATABASES["operator_trace"] = _database(
        "DATABASE_OPERATOR_URL", "operator", pool_size=min(DATABASE_POOL_SIZE, 2)
    )
# Only the process that migrates needs this login.
if EMBEDDED or read_optional("DATABASE_OWNER_URL"):
    DATABASES["owner"] = _database("DATABASE_OWNER_URL", "owner")
# Only the process that makes backups needs this one.
if EMBEDDED or read_optional("DATABASE_BACKUP_URL"):
    DATABASES["backup"] = _database("DATABASE_BACKUP_URL", "backup")
# Only what looks at the server's statistics needs this one.
if EMBEDDED or read_optional("DATABASE_METRICS_URL"):
    DATABASES["metrics"] = _database("DATABASE_METRICS_URL", "metrics")
    # Whoever asks whether the server is well does not wait until the network gives up.
    DATABASES["metrics"]["OPTIONS"].setdefault("connect_timeout", 5)
# Only bootstrap_database, restores and drills need this login.
if address := read_optional("DATABASE_SUPERUSER_URL"):
    DATABASE_SUPERUSER_URL = make_conninfo(
        **connection_parameters("DATABASE_SUPERUSER_URL", address, DATABASE_TLS)
    )
elif SERVICES:
    DATABASE_SUPERUSER_URL = make_conninfo(
        host=SERVICES.postgres.host,
        port=SERVICES.postgres.port,
        user="postgres",
        password=SERVICES.password("postgres"),
        dbname="postgres",
    )
else:
    DATABASE_SUPERUSER_URL = ""
DATABASE_ROUTERS = ["common.tenancy.AliasRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis, queue and schedule ----------------------------------------------------------------

REDIS_URL = (
    f"unix://{SERVICES.redis.socket}?db=0"
    if SERVICES
    else read_url("REDIS_URL", schemes={"redis", "rediss", "unix"})
)
REDIS_PREFIX = read_text("REDIS_PREFIX", "commonplace:")

# A task that runs longer than this is delivered to a second worker as well.
VISIBILITY_TIMEOUT_SECONDS = 3600
# Celery has its own name for the scheme of a socket.
CELERY_BROKER_URL = (
    f"redis+socket://{urlsplit(REDIS_URL).path}" if REDIS_URL.startswith("unix:") else REDIS_URL
)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
    "global_keyprefix": REDIS_PREFIX,
    # A Redis that accepts and stays silent must not hold the request that queues work.
    "socket_connect_timeout": 5,
    "socket_timeout": 10,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 1500
CELERY_TASK_TIME_LIMIT = 1800
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "config.beat:LivingScheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(LOCAL_DIR / "beat-schedule")
SWEEP_SECONDS = 30
CELERY_BEAT_SCHEDULE = {
    "export-events": {
        "task": "audit.tasks.export_events",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "keep-partitions": {
        "task": "audit.tasks.keep_partitions",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "forget-recorded-answers": {
        "task": "accounts.tasks.forget_recorded_answers",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "send-waiting-mail": {
        "task": "accounts.tasks.send_waiting_mail",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "forget-sessions": {
        "task": "accounts.tasks.forget_sessions",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "expire-subscriptions": {
        "task": "accounts.tasks.expire_subscriptions",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "renew-free-subscriptions": {
        "task": "accounts.tasks.renew_free_subscriptions",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "forget-store-notifications": {
        "task": "accounts.tasks.forget_store_notifications",
        "schedule": 24 * 3600,
        "options": {"expires": 24 * 3600},
    },
    "carry-out-erasures": {
        "task": "accounts.tasks.carry_out_erasures",
        "schedule": 300,
        "options": {"expires": 300},
    },
    "erase-unconfirmed-accounts": {
        "task": "accounts.tasks.erase_unconfirmed_accounts",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "keep-exports": {
        "task": "accounts.tasks.keep_exports",
        "schedule": 60,
        "options": {"expires": 60},
    },
    "requeue-stalled-imports": {
        "task": "dedup.tasks.requeue_stalled_imports",
        "schedule": SWEEP_SECONDS,
        # Without a worker sweeps must not pile up: the next one does the same.
        "options": {"expires": SWEEP_SECONDS},
    },
}
# The worker then needs the login of the role backup.
if read_optional("BACKUP_HOUR"):
    CELERY_BEAT_SCHEDULE["back-up"] = {
        "task": "operations.tasks.back_up",
        "schedule": crontab(
            hour=str(read_integer("BACKUP_HOUR", 0, maximum=23)),
            minute="0",
        ),
        "options": {"expires": 3600},
    }

READINESS_CHECKS = read_list("READINESS_CHECKS", ["database", "migrations", "redis", "keys"])
# What /metrics is asked with; without it there is no such page.
METRICS_TOKEN = read_text("METRICS_TOKEN", SERVICES.password("metrics_token") if SERVICES else "")

# --- Applications -----------------------------------------------------------------------------

INSTALLED_APPS = [
    "config",
    "unfold.apps.BasicAppConfig",
    # django.contrib.admin, with our site.
    "audit.apps.HouseSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.apple",
    "allauth.mfa",
    "allauth.headless",
    "common",
    "audit",
    "accounts",
    "dedup",
    "operations",
]

if PROCESS == "live":
    # Streams for programs with a token: no sessions, no forms, and no admin that misses them.
    SILENCED_SYSTEM_CHECKS = ["admin.E408", "admin.E409", "admin.E410"]
    MIDDLEWARE = [
        "common.middleware.RequestContextMiddleware",
        "audit.middleware.OriginMiddleware",
        "django.middleware.security.SecurityMiddleware",
        # allauth does not start without it.
        "allauth.account.middleware.AccountMiddleware",
    ]
else:
    MIDDLEWARE = [
        "common.middleware.RequestContextMiddleware",
        "audit.middleware.OriginMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "csp.middleware.CSPMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "common.middleware.OperatorMiddleware",
        "accounts.identity.middleware.HouseCookieMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "accounts.identity.middleware.IdentityMiddleware",
        "allauth.account.middleware.AccountMiddleware",
        "audit.middleware.OperatorReasonMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]

ROOT_URLCONF = "config.live_urls" if PROCESS == "live" else "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.identity.backends.IdentityBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    # Of people who came from elsewhere; the first login hashes theirs anew.
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "accounts.identity.passwords.CutBCryptPasswordHasher",
]
# Length is what makes guessing hard; classes of characters make passwords alike.
PASSWORD_LENGTH = read_integer("PASSWORD_LENGTH", 12, minimum=8)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "accounts.identity.passwords.OwnWordsValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": PASSWORD_LENGTH},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before those of django-allauth.
        "DIRS": [BASE_DIR / "config" / "templates", BASE_DIR / "accounts" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# --- Accounts ---------------------------------------------------------------------------------

LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/accounts/"
SESSION_ENGINE = "accounts.identity.sessions"
SESSION_DAYS = read_integer("SESSION_DAYS", 30, minimum=1)
# However often it is refreshed.
SESSION_LONGEST_DAYS = read_integer("SESSION_LONGEST_DAYS", 90, minimum=SESSION_DAYS)
SESSION_COOKIE_AGE = SESSION_DAYS * 24 * 3600
ACCESS_TOKEN_SECONDS = read_integer("ACCESS_TOKEN_SECONDS", 900, minimum=10)
# How long a proof of who somebody is opens what a stolen session must not reach.
FRESH_LOGIN_SECONDS = read_integer("FRESH_LOGIN_SECONDS", 300, minimum=1)
# A stranger who names an address is answered after whole steps of this length, so that the time
# does not tell whether there is an account. Longer than the hash of a password takes.
ANSWER_STEP_MS = read_integer("ANSWER_STEP_MS", 500, minimum=0)
LOCKOUT_FAILURES = read_integer("LOCKOUT_FAILURES", 5, minimum=1)
LOCKOUT_SECONDS = read_integer("LOCKOUT_SECONDS", 1800, minimum=1)
LOCKOUT_ACCOUNT_FAILURES = read_integer("LOCKOUT_ACCOUNT_FAILURES", 50, minimum=LOCKOUT_FAILURES)

ACCOUNT_ADAPTER = "accounts.identity.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.identity.forms.SignUpForm"
# The address stands in a table of its own, sealed so that it can be looked up.
ACCOUNT_USER_MODEL_EMAIL_FIELD = None
ACCOUNT_EMAIL_MAX_LENGTH = 512
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_TIMEOUT = 3600
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
ACCOUNT_PASSWORD_RESET_BY_CODE_TIMEOUT = 3600
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
# Addresses, passwords and accounts of providers are changed after a fresh proof only.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = FRESH_LOGIN_SECONDS
ACCOUNT_SESSION_REMEMBER = True
# How often, in how long, for whom: an address (ip), a person (user), a mail address (key).
ACCOUNT_RATE_LIMITS = {
    "login": read_text("RATE_LIMIT_LOGIN", "10/15m/ip"),
    "signup": read_text("RATE_LIMIT_SIGNUP", "3/1h/ip"),
    # Few for one network, and first, so that what it is refused does not count for the address:
    # no stranger alone keeps the owner from resetting.
    "reset_password": read_text("RATE_LIMIT_RESET", "5/1h/ip,10/1h/key"),
    "reset_password_from_key": read_text("RATE_LIMIT_RESET_CODE", "20/1h/ip"),
    "confirm_email": read_text("RATE_LIMIT_VERIFICATION", "5/1h/key"),
    "reauthenticate": read_text("RATE_LIMIT_REAUTHENTICATION", "5/15m/user"),
    "nonce": read_text("RATE_LIMIT_NONCE", "60/1m/ip"),
    "change_password": "5/15m/user",
    "manage_email": "10/15m/user",
    # Wrong codes of second factors; passwords are counted by the backend, so that a stranger
    # cannot lock out the owner.
    "login_failed": read_text("RATE_LIMIT_SECOND_FACTOR", "5/5m/key"),
}
SOCIALACCOUNT_ADAPTER = "accounts.identity.social.SocialAdapter"
# Nobody comes in without their consents, so there is a form between.
SOCIALACCOUNT_AUTO_SIGNUP = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = {
    "google": {
        "APPS": [{"client_id": one, "secret": ""} for one in read_list("GOOGLE_CLIENT_IDS", [])],
        # Google writes either.
        "ID_TOKEN_ISSUER": ["https://accounts.google.com", "accounts.google.com"],
    },
    "apple": {
        "APPS": [{"client_id": one, "secret": ""} for one in read_list("APPLE_CLIENT_IDS", [])],
    },
}
MFA_ADAPTER = "accounts.identity.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Commonplace"
# Steps of 30 seconds that a clock may be ahead or behind.
MFA_TOTP_TOLERANCE = 2
# The pages that may ask for a passkey, and Android's apps as android:apk-key-hash:….
PASSKEY_ORIGINS = read_list("PASSKEY_ORIGINS", [SITE_URL])
HEADLESS_TOKEN_STRATEGY = "accounts.identity.strategy.TokenStrategy"  # noqa: S105 - a class
HEADLESS_SERVE_SPECIFICATION = False
# Where links in mails lead, whatever host a request named.
HEADLESS_FRONTEND_URLS = {
    "account_signup": f"{SITE_URL}/accounts/signup/",
    "account_reset_password": f"{SITE_URL}/accounts/password/reset/",
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}cache",
    }
}

EMAIL_BACKEND = read_text("EMAIL_BACKEND", "common.mail.KeptMailBackend")
EMAIL_FILE_PATH = LOCAL_DIR / "mail"
EMAIL_HOST = read_text("EMAIL_HOST", "localhost")
EMAIL_PORT = read_integer("EMAIL_PORT", 25, maximum=65535)
EMAIL_HOST_USER = read_text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = read_text("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = read_boolean("EMAIL_USE_TLS", default=False)
EMAIL_USE_SSL = read_boolean("EMAIL_USE_SSL", default=False)
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = read_text("EMAIL_FROM", "Commonplace <commonplace@localhost>")

# Of the texts that people agree to, those whose version is not 1.
CONSENT_VERSIONS = read_pairs("CONSENT_VERSIONS", int, "pairs such as privacy_policy:2")
CONSENT_DOCUMENTS_DIR = Path(
    read_text("CONSENT_DOCUMENTS_DIR", str(BASE_DIR / "accounts" / "consents"))
)

# What stores call that which is sold here, and whether it is paid for monthly or yearly.
STORE_PRODUCTS = read_pairs("STORE_PRODUCTS", plan_named, "pairs such as com.example.plus:yearly")
# Receipts that we sign ourselves: whoever may run a command would have premium for nothing.
STORE_LOCAL = read_boolean("STORE_LOCAL", default=EMBEDDED)
APPLE_BUNDLE_ID = read_text("APPLE_BUNDLE_ID", "")
APPLE_APP_ID = read_integer("APPLE_APP_ID", 0)
APPLE_ENVIRONMENT = read_choice(
    "APPLE_ENVIRONMENT", ["production", "sandbox"], default="production"
)
APPLE_ROOT_CERTIFICATES = read_list("APPLE_ROOT_CERTIFICATES", [])
# Whether Apple is asked if its certificates are still good.
APPLE_ONLINE_CHECKS = read_boolean("APPLE_ONLINE_CHECKS", default=True)
GOOGLE_PACKAGE_NAME = read_text("GOOGLE_PACKAGE_NAME", "")
GOOGLE_SERVICE_ACCOUNT = read_text("GOOGLE_SERVICE_ACCOUNT", "")
GOOGLE_PUSH_AUDIENCE = read_text(
    "GOOGLE_PUSH_AUDIENCE", f"{SITE_URL}/api/v1/subscription/notifications/google/"
)
GOOGLE_PUSH_ACCOUNT = read_text("GOOGLE_PUSH_ACCOUNT", "")
GOOGLE_KEYS_URL = read_url(
    "GOOGLE_KEYS_URL", schemes=WEB_SCHEMES, default="https://www.googleapis.com/oauth2/v3/certs"
)
GOOGLE_PLAY_URL = read_url(
    "GOOGLE_PLAY_URL", schemes=WEB_SCHEMES, default="https://androidpublisher.googleapis.com"
)

# --- Files ------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = LOCAL_DIR / "static"
# Without collectstatic files are served from where the packages have them.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = EMBEDDED
MEDIA_ROOT = Path(read_text("FILES_DIR", str(LOCAL_DIR / "files")))
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    if not EMBEDDED
    else {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if bucket := read_optional("S3_BUCKET"):
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {"bucket_name": bucket, "default_acl": "private", "querystring_auth": True},
    }
# Dumps and copies of the stored files; one folder, which may be copied to elsewhere as it is.
BACKUP_DIR = Path(read_text("BACKUP_DIR", str(LOCAL_DIR / "backups")))
if BACKUP_DIR.resolve().is_relative_to(MEDIA_ROOT.resolve()):
    raise ImproperlyConfigured("BACKUP_DIR must not lie in FILES_DIR: backups hold its files.")
BACKUP_KEEP_DAYS = read_integer("BACKUP_KEEP_DAYS", 30, minimum=1)
# Of the wrapped data keys, which are backed up apart: after that nobody who was erased is legible.
KEYS_BACKUP_DAYS = read_integer("KEYS_BACKUP_DAYS", 7, minimum=1)
# Where pg_dump and pg_restore lie, if not on PATH.
POSTGRES_PROGRAMS_DIR = read_optional("POSTGRES_PROGRAMS_DIR")
FILE_UPLOAD_HANDLERS = ["common.uploads.BoundedUploadHandler"]
# One upload may be a whole archive; its bytes go to disk, never to memory.
LARGEST_UPLOAD_BYTES = read_integer("LARGEST_UPLOAD_MB", 2048, minimum=1) * 1024 * 1024
# What is read of one zip; unpacked it lies in the folder for temporary files.
LARGEST_UNPACKED_BYTES = read_integer("LARGEST_UNPACKED_BYTES", 4 * 1024**3, minimum=1)

# --- Change stream ----------------------------------------------------------------------------

# How long events stay in the database; their files stay for as long as the storage keeps them.
AUDIT_EVENT_DAYS = read_integer("AUDIT_EVENT_DAYS", 2557, minimum=365)
# How long addresses and agents stay.
AUDIT_ORIGIN_DAYS = read_integer("AUDIT_ORIGIN_DAYS", 90, minimum=1)

# --- Security ---------------------------------------------------------------------------------

HTTPS = read_boolean("HTTPS", default=SITE_URL.startswith("https://"))
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = read_integer("HSTS_SECONDS", 31_536_000 if HTTPS else 0)
# Browsers then refuse plain HTTP for sites that may not be ours: it has to be asked for.
SECURE_HSTS_INCLUDE_SUBDOMAINS = read_boolean("HSTS_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = SECURE_HSTS_INCLUDE_SUBDOMAINS
BEHIND_PROXY = read_boolean("BEHIND_PROXY", default=False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = HTTPS
# How long an operator's reason holds before it is asked for again.
OPERATOR_REASON_MINUTES = read_integer("OPERATOR_REASON_MINUTES", 30, minimum=1)
CSRF_COOKIE_SECURE = HTTPS
CSRF_FAILURE_VIEW = "common.api.errors.csrf_failed"
X_FRAME_OPTIONS = "DENY"
# Pages of accounts run nothing and load nothing but what comes from here, and no page frames them.
# The admin's and the schema's own scripts are written into their pages.
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/", "/api/v1/docs/"],
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
# How far ahead people's personal access tokens may end; 0 allows tokens that never do.
TOKEN_LONGEST_DAYS = read_integer("TOKEN_LONGEST_DAYS", 365, maximum=36_500)

# --- Encryption -------------------------------------------------------------------------------

# Who wraps the keys of persons: a keyring of our own, or AWS KMS.
ENCRYPTION_PROVIDER = read_choice("ENCRYPTION_PROVIDER", ["local", "aws_kms"], default="local")
_WITH_KMS = ENCRYPTION_PROVIDER == "aws_kms"
ENCRYPTION_KMS_KEY_ID = read_text("ENCRYPTION_KMS_KEY_ID", None if _WITH_KMS else "")
ENCRYPTION_KMS_REGION = read_text("ENCRYPTION_KMS_REGION", "")
ENCRYPTION_KMS_ENDPOINT = read_text("ENCRYPTION_KMS_ENDPOINT", "")
# The first one wraps; the others open what they wrapped.
ENCRYPTION_KEYS = keyring_of(
    "ENCRYPTION_KEYS",
    read_text(
        "ENCRYPTION_KEYS",
        f"embedded:{as_setting(bytes.fromhex(SERVICES.password('encryption_key')))}"
        if SERVICES
        else ("" if _WITH_KMS else None),
    ),
)
# What look-ups and the house's own keys follow from: it cannot be replaced, and is in no dump.
ENCRYPTION_ROOT_KEY = root_key_of(
    "ENCRYPTION_ROOT_KEY",
    read_text(
        "ENCRYPTION_ROOT_KEY",
        as_setting(SERVICES.password("encryption_root_key").encode()) if SERVICES else None,
    ),
)
# How long, and how many, opened keys of persons one process keeps in memory.
ENCRYPTION_CACHE_SECONDS = read_integer("ENCRYPTION_CACHE_SECONDS", 300)
ENCRYPTION_CACHE_ENTRIES = read_integer("ENCRYPTION_CACHE_ENTRIES", 1000, minimum=1)

# How long a person who asked to be erased may think better of it.
ERASURE_GRACE_DAYS = read_integer("ERASURE_GRACE_DAYS", 30)
# How long an account may wait for its address to be confirmed before it is erased.
UNCONFIRMED_DAYS = read_integer("UNCONFIRMED_DAYS", 7, minimum=1)
# How long the file of an export is kept.
EXPORT_DAYS = read_integer("EXPORT_DAYS", 7, minimum=1)

# --- API --------------------------------------------------------------------------------------

# Requests that one person, or one network of nobody's, may make in a while; 0 for any number.
API_RATE_LIMIT = read_integer("API_RATE_LIMIT", 0)
API_RATE_SECONDS = read_integer("API_RATE_SECONDS", 900, minimum=1)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["common.api.parsing.BoundedJsonParser"],
    "DEFAULT_THROTTLE_CLASSES": ["common.api.throttling.CallerThrottle"],
    "DEFAULT_PAGINATION_CLASS": "common.api.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "common.api.errors.handle_exception",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Commonplace",
    "DESCRIPTION": "Where AI products keep what is worth keeping.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "AccountRole": "accounts.choices.Role",
        "MessageRole": "dedup.choices.Role",
        "BiometricKind": "accounts.choices.BiometricKind",
        "BiometricStatus": "accounts.choices.BiometricStatus",
        "ConsentSource": "accounts.choices.ConsentSource",
        "ErasureStatus": "accounts.choices.ErasureStatus",
        "ExportStatus": "accounts.choices.ExportStatus",
        "SourceEnum": "dedup.choices.Source",
        "StatusEnum": "dedup.choices.ImportStatus",
        "SubscriptionStatus": "accounts.choices.SubscriptionStatus",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "common.api.schema.describe_errors",
        "accounts.identity.openapi.describe_identity",
    ],
}

UNFOLD = {
    "SITE_TITLE": "Commonplace",
    "SITE_HEADER": "Commonplace",
    "SITE_SYMBOL": "auto_stories",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _: static("commonplace.svg"),
        }
    ],
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "operations.dashboard.show_dashboard",
    # The reason in force, with a link to give another one.
    "ENVIRONMENT": "audit.admin.header.reason_chip",
    "ACCOUNT": {"navigation": "audit.admin.header.account_links"},
}

# --- Logs -------------------------------------------------------------------------------------

# A command talks to a person: only what is wrong.
LOG_LEVEL = read_choice(
    "LOG_LEVEL",
    ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    default="WARNING" if PROCESS == "manage" else "INFO",
)
LOG_FILE = read_optional("LOG_FILE")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "common.logs.JsonLogFormatter", "process": PROCESS}},
    "handlers": {
        "lines": {
            "formatter": "json",
            # Watched: it may be rotated from outside.
            **(
                {"class": "logging.handlers.WatchedFileHandler", "filename": LOG_FILE}
                if LOG_FILE
                else {"class": "logging.StreamHandler"}
            ),
        }
    },
    "root": {"handlers": ["lines"], "level": LOG_LEVEL},
    "loggers": {
        # Each request has a line of our own; this one adds noise for every 404.
        "django.request": {"level": "ERROR"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
