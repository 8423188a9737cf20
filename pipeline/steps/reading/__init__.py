"""How records of the native format become columns: plain ones by a compiled loop, the others one by one."""
