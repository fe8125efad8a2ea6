-- What is searched: messages, and the names and topics of rooms.

-- One row for each text that a message, name or topic ever had, at the position of the event that gave it:
-- an edit's row is its own. `words` are the words in order, as `homeserver.search.words` cuts them, with a
-- blank between; `scope` says in which room they stand and what they are of. The followers "search" and
-- "search:past" have come to the highest and the lowest position that was looked at.
@sqlite CREATE VIRTUAL TABLE search_text USING fts5 (scope, words, tokenize = 'ascii', prefix = '3');
@postgres CREATE TABLE search_text (position INTEGER PRIMARY KEY, words TEXT NOT NULL, vector TSVECTOR NOT NULL);
@postgres CREATE INDEX search_text_vector ON search_text USING GIN (vector);

-- People one may find by name: our own users, and those of other servers who are in rooms with them. The
-- follower "user_directory" keeps it. What is not asked of it is who may see whom: that is read from `membership`
-- and `open_room`, the rooms that everybody may join or read.
CREATE TABLE directory_user (user_id TEXT PRIMARY KEY, display_name TEXT, avatar_url TEXT);
CREATE TABLE open_room (room_id TEXT PRIMARY KEY);

-- The words of their names and IDs in UTF-8: bytes, which sort alike on both engines.
CREATE TABLE directory_word (word BLOB NOT NULL, user_id TEXT NOT NULL, PRIMARY KEY (word, user_id));
CREATE INDEX directory_word_user ON directory_word (user_id);
