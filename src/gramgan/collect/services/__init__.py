"""The services that are asked for photographs, through their official interfaces."""

from gramgan.collect.services.base import Service
from gramgan.collect.services.commons import COMMONS
from gramgan.collect.services.openverse import OPENVERSE

SERVICES: dict[str, Service] = {service.name: service for service in (OPENVERSE, COMMONS)}

__all__ = ["SERVICES", "Service"]
