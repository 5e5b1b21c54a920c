"""The scripts that a consumer group runs inside Redis, each one step that cannot be seen half done."""

from __future__ import annotations

#: Who holds what a consumer gave back unstarted; anyone may claim it at once.
PARKED = b"-"

# For ids as text: which is less, and whether nothing can lie between two.
_COMPARE = """
local function parts(id)
    local dash = string.find(id, '-', 1, true)
    return string.sub(id, 1, dash - 1), string.sub(id, dash + 1)
end
local function below(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end
local function less(a, b)
    local ax, as = parts(a)
    local bx, bs = parts(b)
    if ax ~= bx then return below(ax, bx) end
    return below(as, bs)
end
local function adjacent(a, b)
    local ax, as = parts(a)
    local bx, bs = parts(b)
    return ax == bx and tonumber(as) + 1 == tonumber(bs)
end
local function member(list, name)
    for i = 1, #list, 2 do
        if list[i] == name then return list[i + 1] end
    end
end
local function delivered(key, group)
    local groups = redis.pcall('XINFO', 'GROUPS', key)
    if groups.err then return nil end
    for _, one in ipairs(groups) do
        if member(one, 'name') == group then return member(one, 'last-delivered-id') end
    end
end
"""

# What is not as usual with a group's streams, seen in the same step as the read that follows it. A group whose place
# lies before the first entry may have missed what was trimmed between: then its place moves to the stream's end, and
# the gap (after, up to) is noted, to be filled from elsewhere; the read finds nothing.
# KEYS: gaps, then stream and refill, again and again. ARGV: group.
# Gives: number of the stream and `absent`, `gap` with its ends, or `refill`.
LOOK = (
    _COMPARE
    + """
local found = {}
for i = 2, #KEYS, 2 do
    local key, number = KEYS[i], (i - 2) / 2
    local place = delivered(key, ARGV[1])
    if not place then
        found[#found + 1] = {number, 'absent'}
    else
        local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
        if not first or (less(place, first[1]) and not adjacent(place, first[1])) then
            local top = member(redis.call('XINFO', 'STREAM', key), 'last-generated-id')
            if less(place, top) then
                local gap = redis.call('HGET', KEYS[1], key)
                local after = gap and string.match(gap, '^%S+') or place
                redis.call('HSET', KEYS[1], key, after .. ' ' .. top)
                redis.call('XGROUP', 'SETID', key, ARGV[1], top)
            end
        end
        local gap = redis.call('HGET', KEYS[1], key)
        if gap then found[#found + 1] = {number, 'gap', gap} end
        if redis.call('XLEN', KEYS[i + 1]) > 0 then found[#found + 1] = {number, 'refill'} end
    end
end
return found
"""
)

# Gives a group its place in a stream, unless it has one; what was left of an earlier life of the stream goes. An
# ordered group that begins for the first time is free to be owned. One that was there before may have an owner that
# Redis has forgotten, or that holds what is now handed out again: nobody owns it until the longest lease has lapsed.
# KEYS: gaps, stream, refill, and the owner key of an ordered group. ARGV: group, id, and for an ordered group 1 where
# it was there before, a new mark, lease in ms, how long the key outlives its lease in ms.
CREATE = """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], ARGV[2], 'MKSTREAM')
local found = made.err and string.find(made.err, 'BUSYGROUP', 1, true)
if made.err and not found then return made end
if KEYS[4] then
    local left = redis.call('PTTL', KEYS[4])
    if left < 0 and not found and ARGV[3] == '0' then
        redis.call('SET', KEYS[4], '-', 'PX', ARGV[6])
    elseif left < 0 or (not found and left > tonumber(ARGV[6])) then
        redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5] + ARGV[6])
    end
end
if found then return 0 end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[1], KEYS[2])
return 1
"""

# Adds to a group's refill what was read for a gap, and makes the gap smaller; only if it still is the gap that was read
# for. KEYS: gaps, stream, refill. ARGV: group, the gap as read for, what is left of it ('' for nothing), then id and
# body, again and again.
POUR = """
if redis.call('HGET', KEYS[1], KEYS[2]) ~= ARGV[2] then return 0 end
redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[1], '0', 'MKSTREAM')
for i = 4, #ARGV, 2 do
    redis.call('XADD', KEYS[3], ARGV[i], 'event', ARGV[i + 1])
end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], KEYS[2])
else
    redis.call('HSET', KEYS[1], KEYS[2], ARGV[3])
end
return 1
"""

# How far a group is in its streams. KEYS: gaps, then stream and refill, again and again. ARGV: group.
# Gives for each: last delivered id, number pending, least pending id, gap, first id and length of the refill; nothing
# where the group has no place.
STATE = (
    _COMPARE
    + """
local found = {}
for i = 2, #KEYS, 2 do
    local place = delivered(KEYS[i], ARGV[1])
    if place then
        local pending = redis.call('XPENDING', KEYS[i], ARGV[1])
        local first = redis.call('XRANGE', KEYS[i + 1], '-', '+', 'COUNT', 1)[1]
        found[#found + 1] = {
            place, pending[1], pending[2] or '', redis.call('HGET', KEYS[1], KEYS[i]) or '',
            first and first[1] or '', redis.call('XLEN', KEYS[i + 1])
        }
    else
        found[#found + 1] = {}
    end
end
return found
"""
)

# Reads what is new in streams of an ordered group, each only while it is the reader's: who was frozen, or whose owner
# key was lost with the rest of Redis, would take entries from between those that the owner of now is handed.
# KEYS: owner key and stream, again and again. ARGV: group, consumer, most. Gives what XREADGROUP gives.
READ = """
local found = {}
for i = 1, #KEYS, 2 do
    if redis.call('GET', KEYS[i]) == ARGV[2] then
        local read = redis.pcall(
            'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[i + 1], '>'
        )
        if read and not read.err then found[#found + 1] = read[1] end
    end
end
return found
"""

# Takes over what has not been touched for some time. How often each was begun stays as it is (as after a first read,
# at least once): the new holder counts when it begins.
# KEYS: stream, and the owner key of an ordered group. ARGV: group, consumer, least idle time in ms, most, whose ('' for
# anyone's). Gives for each: id, deliveries, holder before, body or nothing.
CLAIM = """
if KEYS[2] and redis.call('GET', KEYS[2]) ~= ARGV[2] then return {} end
local query = {'XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', ARGV[4]}
if ARGV[5] ~= '' then query[#query + 1] = ARGV[5] end
local pending = redis.pcall(unpack(query))
if pending.err then return {} end
local taken = {}
for _, one in ipairs(pending) do
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, one[1], 'RETRYCOUNT', math.max(one[4], 1), 'JUSTID')
    local entry = redis.call('XRANGE', KEYS[1], one[1], one[1])[1]
    taken[#taken + 1] = {one[1], one[4], one[2], entry and entry[2][2] or false}
end
return taken
"""

# Says that entries are still being worked on, and how often each was begun. KEYS: stream. ARGV: group, consumer, then
# id and count (-1 to leave it), again and again. Gives the ids that another consumer holds now, or that are done.
HOLD = """
local lost = {}
for i = 3, #ARGV, 2 do
    local one = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
    if one.err or not one[1] or one[1][2] ~= ARGV[2] then
        lost[#lost + 1] = ARGV[i]
    elseif ARGV[i + 1] == '-1' then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    else
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
    end
end
return lost
"""

# Gives back what a consumer holds, to be claimed by anyone at once, and forgets the consumer once it holds nothing.
# What it was handed but does not know of was never begun. KEYS: stream. ARGV: group, consumer, the parking consumer,
# then id and deliveries of what it knows, again and again.
PARK = """
local known = {}
for i = 4, #ARGV, 2 do known[ARGV[i]] = ARGV[i + 1] end
for _ = 1, 100 do
    local mine = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
    if mine.err then return 0 end
    if #mine == 0 then break end
    for _, one in ipairs(mine) do
        local count = known[one[1]] or math.max(0, one[4] - 1)
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, one[1], 'IDLE', 31536000000, 'RETRYCOUNT', count, 'JUSTID')
    end
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
"""

# Forgets consumers that hold nothing and have not been seen for long. KEYS: stream. ARGV: group, least idle ms.
SWEEP = (
    _COMPARE
    + """
local all = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if all.err then return 0 end
for _, one in ipairs(all) do
    if member(one, 'pending') == 0 and member(one, 'idle') > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], member(one, 'name'))
    end
end
return 1
"""
)

# Who may read the streams of an ordered group: the first who asks, until it has not asked for some time. The key
# outlives the lease (what is left of it beyond that is the lease), so that none at all means that Redis has forgotten,
# and not that the stream is free. A renewal changes only the expiry, which a Redis without memory allows too. A mark in
# a consumer's place keeps everyone away until it lapses, but for who can name it: it held the stream when the mark was
# made.
# KEYS: owner keys. ARGV: consumer, lease in ms, how long the key outlives it in ms, then for each key the mark or ''.
# Gives for each: 1 mine, 0 another's, -1 forgotten, or the mark.
OWN = """
local given = {}
for i = 1, #KEYS do
    local owner = redis.call('GET', KEYS[i])
    if not owner then
        given[i] = -1
    elseif owner == ARGV[1] then
        redis.call('PEXPIRE', KEYS[i], ARGV[2] + ARGV[3])
        given[i] = 1
    elseif redis.call('PTTL', KEYS[i]) <= tonumber(ARGV[3]) or owner == ARGV[3 + i] then
        redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2] + ARGV[3])
        given[i] = 1
    elseif string.sub(owner, 1, 1) == '-' then
        given[i] = owner
    else
        given[i] = 0
    end
end
return given
"""

# Lets go of what is mine. KEYS: owner keys. ARGV: consumer, how long the key outlives its lease in ms.
DISOWN = """
for i = 1, #KEYS do
    if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
return 1
"""

ALL = (LOOK, CREATE, POUR, STATE, READ, CLAIM, HOLD, PARK, SWEEP, OWN, DISOWN)
