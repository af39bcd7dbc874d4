package main

// What a segment's version says: each commit adds 2, and it is odd from a commit's beginning to its end, or for as long as
// nobody takes over from a writer that died in between.

// commitsOf returns how many commits there were, without one in progress.
func commitsOf(version uint64) uint64 { return version / 2 }

// inCommit says whether a commit is in progress, or its writer died in it.
func inCommit(version uint64) bool { return version%2 != 0 }

// lastCommitted returns the version of the last commit, without one in progress.
func lastCommitted(version uint64) uint64 { return version - version%2 }
