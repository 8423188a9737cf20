"""Alerts for other systems: records come from a subscription, go out by HTTP, and count as handled when they were taken.

In: an `AlertSubscriber`. Out: requests to a webhook or to Alertmanager (`presentation` is how an alert reads there). `post` is
where a request is tried again. Begin with `webhook`.
"""
