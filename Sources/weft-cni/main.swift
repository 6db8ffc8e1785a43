// The CNI executable: assembly only.
