"""What the messages of a topic would become, before a stream reads them, and what of it is hardly meant."""
