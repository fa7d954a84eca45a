"""What follows a run elsewhere: TensorBoard, MLflow, Weights & Biases; rows of ``TRACKERS``."""
