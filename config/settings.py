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
from common.environment import (
    read_boolean,
    read_choice,
    read_integer,
    read_list,
    read_optional,
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

READINESS_CHECKS = read_list("READINESS_CHECKS", ["database", "migrations", "redis"])
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
    ]
else:
    MIDDLEWARE = [
        "common.middleware.RequestContextMiddleware",
        "audit.middleware.OriginMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "common.middleware.OperatorMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "audit.middleware.OperatorReasonMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]

ROOT_URLCONF = "config.live_urls" if PROCESS == "live" else "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
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

# --- Files ------------------------------------------------------------------------------------

LOGIN_REDIRECT_URL = "/admin/"
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
X_FRAME_OPTIONS = "DENY"
# How long a proof of who somebody is opens what a stolen session must not reach.
FRESH_LOGIN_SECONDS = read_integer("FRESH_LOGIN_SECONDS", 300, minimum=1)

# --- API --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
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
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "common.api.schema.describe_errors",
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
