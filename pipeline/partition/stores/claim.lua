-- Take ownership of one partition's hash: whoever owned it before can write no more.
-- KEYS[1] hash; ARGV nonce, generation. Returns the stored sequence, or nil where there is no checkpoint yet.
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'generation', ARGV[2])
return redis.call('HGET', KEYS[1], 'sequence')
