"""A page that shows the alerts as they come: `board` remembers, `server` serves, `page/` is what the browser runs."""
