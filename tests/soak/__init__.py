"""Mail flows while everything around it breaks; at the end every message is accounted for."""
