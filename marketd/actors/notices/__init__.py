"""The notices that users get, and how they are delivered."""
