"""What continuous integration reads: results as SARIF and as JUnit XML."""
