"""A partition's event time, and which series say nothing while it goes on. Begin with `event_time`."""
