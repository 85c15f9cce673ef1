"""The pages of docs/ and README.md: what is generated from code, and whether what they name exists."""
