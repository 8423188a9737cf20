"""What an event time says: its place in the series (`policy`), the partition's event time (`event_time`), and which series say nothing while it goes on."""
