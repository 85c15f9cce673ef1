"""Reads from the API how NATS is reached: the ConfigMap, and the Secrets that it names."""

import base64
import binascii

from eventing.jetstream.settings import CONFIG_MAP, NatsSettings, NatsSettingsError, read_settings, secret_names
from kube.client import Client
from kube.errors import NotFound
from kube.models.core import ConfigMap, Secret

__all__ = ["load_settings"]


async def load_settings(client: Client, namespace: str, config_map: str = CONFIG_MAP) -> NatsSettings:
    """Return the settings; without a ConfigMap those of an empty one. Raises `NatsSettingsError`, errors of the API."""
    try:
        data = (await client.get(ConfigMap, config_map, namespace)).data
    except NotFound:
        data = {}
    secrets: dict[str, dict[str, bytes]] = {}
    for name in secret_names(data).all:
        try:
            secret = await client.get(Secret, name, namespace)
            secrets[name] = {key: base64.b64decode(value) for key, value in secret.data.items()}
        except NotFound:
            continue  # told by `read_settings`
        except binascii.Error as error:
            raise NatsSettingsError(f"the Secret {name}: expected base64: {error}") from error
    return read_settings(data, secrets)
