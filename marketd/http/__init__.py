"""Who answers the outside: HTTP in, messages out, answers back."""
