"""What several tests share: small corpora, runs, models and damaged or hostile files."""
