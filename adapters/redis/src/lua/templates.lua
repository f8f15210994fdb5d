-- A job's templates, each a string under its key, at a place of its job's plan. One with a time to live is
-- staged: its body was sent ahead of the commit that is to keep it, and runs out if none does. No index and no
-- place names such a one.
-- t: id, key, place, score, indexes

-- A template's body; a table where it can't be read. An earlier build's is a hash.
local function body_of(key)
  local body = redis.pcall('GET', key)
  if type(body) == 'table' then
    return redis.pcall('HGET', key, 'body')
  end
  return body
end

-- The first of these templates whose place another one has, and that one's body; nothing if there is none. One
-- that can't be read gives its place to the next.
local function taken(places, prefix, templates)
  local asked = {}
  for i, t in ipairs(templates) do
    asked[i] = t.place
  end
  for i, holder in ipairs(on('hash', 'HMGET', places, unpack(asked))) do
    if holder and holder ~= templates[i].id then
      local body = body_of(prefix .. holder)
      if type(body) == 'string' and pcall(cjson.decode, body) then
        return templates[i], body
      end
    end
  end
end

-- Whether the bodies of all are there.
local function are_staged(templates)
  local keys = {}
  for i, t in ipairs(templates) do
    keys[i] = t.key
  end
  return redis.call('EXISTS', unpack(keys)) == #keys
end

-- Keeps templates whose bodies are there. Never the first write of a script: PERSIST goes through when Redis is
-- out of memory, and so would all after it.
-- `kept`: places, lifetime of the places (0: none), expiry, retention (microseconds, 0: for ever)
local function keep(kept, templates, at)
  local held = {}
  for i, t in ipairs(templates) do
    redis.call('PERSIST', t.key)
    for _, index in ipairs(t.indexes) do
      on('zset', 'ZADD', index, t.score, t.id)
    end
    if kept.retention > 0 then
      on('zset', 'ZADD', kept.expiry, at + kept.retention, t.key .. ' ' .. table.concat(t.indexes, ' '))
    end
    held[2 * i - 1], held[2 * i] = t.place, t.id
  end
  redis.call('HSET', kept.places, unpack(held))
  if kept.lifetime ~= '0' then
    redis.call('PEXPIRE', kept.places, kept.lifetime)
  end
end
