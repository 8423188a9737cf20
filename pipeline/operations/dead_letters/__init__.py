"""Dead letters sent again: read from their topic in order, mended or as they are, back to the stream's input topic.

In: the dead-letter topic, a `Selection` of what is wanted, and the records that the letters name. Out: those records once more in the
input topic, and how far it came, as the offsets of a consumer group. `letters` is what a letter and a selection are, without Kafka at
work; `reading` goes over the topic, `mending` turns letters into lines that a person or a program changes, `sending` waits until the
broker has them. Begin with `replay`, which puts these together.
"""
