"""What people need who run it: the doctor, stored states, dead letters, metrics and health.

In: settings, and what Kafka and Redis hold. Out: findings, reports, files, and /metrics and /healthz. Nothing here takes part in
a record's way; `metrics` listens to it, `health` says whether it advances, `serving` answers with both. Begin with `doctor` or `metrics`.
"""
