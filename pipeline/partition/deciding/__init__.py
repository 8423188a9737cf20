"""What is decided, and what comes of it: the list, what a partition takes of it and when it holds, what it does to a state."""
