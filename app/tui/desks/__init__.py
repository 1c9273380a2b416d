"""What a person does at the window, by what it is about; each desk acts on the room and offers its acts by id."""
