"""What `tidewatch doctor` looks at: settings and models, Kafka, stored states; and a canary that flies the whole way.

In: settings. Out: one `Finding` after the other, each *ok*, *warning* or *failed*, with the mend. Begin with `examine`; `kafka` asks the
broker, `states` the store, `canary` sends a series with a planted anomaly through a real worker.
"""
