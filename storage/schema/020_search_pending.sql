-- PostgreSQL keeps what was added to the index of texts last in a list that every search reads from end to
-- end: 4 MB of it, unless it is told to sort it in sooner.
@postgres ALTER INDEX search_text_vector SET (gin_pending_list_limit = 256);
