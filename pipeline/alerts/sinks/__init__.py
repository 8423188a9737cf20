"""Alerts handed on to where people are: a webhook (`webhook`), Prometheus Alertmanager (`alertmanager`).

A sink is a subscriber of the alert topic in a process of its own (`tidewatch sink`); scoring never waits for it.
"""
