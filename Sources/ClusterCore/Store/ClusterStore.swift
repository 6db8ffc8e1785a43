// A revisioned key-value log with watch. SQLite is the default engine.
