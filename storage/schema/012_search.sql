-- What is searched: messages, and the names and topics of rooms.

-- One row for each text that a message, name or topic ever had, at the position of the event that gave it:
-- an edit's row is its own. `words` are the words in order, as `homeserver.search.words` cuts them, with a
-- blank between; `scope` says in which room they stand and what they are of. The followers "search" and
-- "search:past" have come to the highest and the lowest position that was looked at.
@sqlite CREATE VIRTUAL TABLE search_text USING fts5 (scope, words, tokenize = 'ascii', prefix = '3');
@postgres CREATE TABLE search_text (position INTEGER PRIMARY KEY, words TEXT NOT NULL, vector TSVECTOR NOT NULL);
@postgres CREATE INDEX search_text_vector ON search_text USING GIN (vector);
