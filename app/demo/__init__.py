"""`realm demo`: the whole service on a sample whose truth is known."""
