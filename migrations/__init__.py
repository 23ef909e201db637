"""The history of the database's tables. `realm migrate` brings a database to its end."""
