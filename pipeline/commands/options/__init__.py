"""Options that several verbs share, with what they say of them; begin with `files`: how a user's file is read."""
