"""One file a page: each handler gets the console, the request, the reviewer and the form, and answers."""
