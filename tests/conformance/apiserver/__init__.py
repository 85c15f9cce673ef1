"""What an API server does, case by case over raw HTTP; see README.md."""
