"""The page: a server with tokens, what it knows of alerts and streams, what it answers, and what the browser gets.

    board      alerts and who listens        points     of any series, from the tail of a topic
    overview   how the streams fare          acting     decisions of who holds the operators' token
    reaching   whether Kafka answers
    events     what pages are told           server     who may see and do what

In: an `AlertSubscriber`, the settings. Out: HTML, a stream of events, JSON. `page/` is the browser's side. Begin with `board`.
"""
