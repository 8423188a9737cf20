"""The page with the alerts: a server with tokens beyond loopback, the alerts it holds, and what the browser gets.

In: an `AlertSubscriber`. Out: HTML, and a stream of events. `board` is what is shown, `server` who may see it, page/ the browser's side. Begin
with `board`.
"""
