"""The stream: what happens between an observation on a Kafka topic and an alert on another, and all that people need around it.

The folders follow the way of a record, each above what it uses; `make lint` holds the order:

    commands/     one file per verb of `tidewatch`; cli.py lists them
    dashboard/    the page                        demo/    the main job in a minute
    app.py        the only place where a worker is put together
    operations/   doctor, stored states, dead letters, metrics and health      offline/  the same steps over files
    partition/    the life of one partition: batches in, alerts out, checkpoints; knows no Kafka
    alerts/       the life of an alert, its records, and those who read them
    kafka/        everything that speaks to a broker
    steps/        pure arrays: decode, windows, scores, state
    settings.py, settings_reference.py, addresses.py, wrong_settings.py, embedded/, errors.py, logs.py     the ground

Begin with `pipeline.partition.stream` (the steps in order), then `pipeline.partition.loop`. docs/architecture.md walks through all of it.
"""

import detectors  # noqa: F401  # before any module here loads torch: it sets how MKL sums
