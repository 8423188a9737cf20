"""Values behind a schema registry with Confluent's interface: Avro, JSON Schema and Protobuf.

    0 | schema's id, 4 bytes | for Protobuf which message | the data

`schemas.py` reads such values with the schemas that are at hand, and says which are not; `client.py` fetches those; `avro.py` and
`protobuf.py` make readers of them.
"""
