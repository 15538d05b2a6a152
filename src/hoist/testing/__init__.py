"""What users and the project test with: local servers and the storage conformance suite."""
