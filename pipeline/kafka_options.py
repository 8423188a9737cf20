"""How `[kafka]` of the settings becomes the options of a librdkafka client (producer, consumer, admin)."""

from __future__ import annotations

from pathlib import Path

from pipeline.settings import KafkaSettings

_FILES = {
    "ca_file": "ssl.ca.location",
    "certificate_file": "ssl.certificate.location",
    "key_file": "ssl.key.location",
}


def librdkafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Address, TLS and SASL, the password in clear: to be handed to a client, never logged."""
    options = {"bootstrap.servers": kafka.brokers, "security.protocol": kafka.security_protocol}
    for name, option in _FILES.items():
        file: Path | None = getattr(kafka, name)
        if file is not None:
            options[option] = str(file)
    if kafka.key_password.get_secret_value():
        options["ssl.key.password"] = kafka.key_password.get_secret_value()
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": kafka.sasl_password.get_secret_value(),
        }
    return options
