"""What is computed once per corpus and kept: shards, saliency maps, caption embeddings, decoded frames."""
