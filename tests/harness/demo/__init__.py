"""Demo: real programs judged through a real RabbitMQ (`make demo`)."""
