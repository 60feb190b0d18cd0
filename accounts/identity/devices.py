"""What a client says of its device, in headers: every way to log in takes them alike."""

from django.http import HttpRequest

from accounts.choices import Platform
from accounts.services.sessions import Device

# Longer is cut: no login fails for the name of a device.
LENGTHS = {
    "device_id": 100, "platform": 10, "name": 100, "model": 100, "app_version": 40,
    "os_version": 40,
}  # fmt: skip
HEADERS = {
    "device_id": "X-Device-Id",
    "platform": "X-Device-Platform",
    "name": "X-Device-Name",
    "model": "X-Device-Model",
    "app_version": "X-App-Version",
    "os_version": "X-OS-Version",
}


def device_of(request: HttpRequest) -> Device:
    said = {
        part: "".join(filter(str.isprintable, request.headers.get(header, "")))[: LENGTHS[part]]
        for part, header in HEADERS.items()
    }
    if said["platform"] not in Platform.values:
        said["platform"] = ""
    return Device(**said)
