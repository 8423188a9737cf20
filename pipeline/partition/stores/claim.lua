-- Take ownership of one partition's hash: whoever owned it before can write no more.
-- KEYS[1] hash; ARGV nonce, generation. Returns {stored sequence, time of the newest snapshot}, '' where there is none yet.
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'generation', ARGV[2])
return {redis.call('HGET', KEYS[1], 'sequence') or '', redis.call('HGET', KEYS[1], 'snapped') or ''}
