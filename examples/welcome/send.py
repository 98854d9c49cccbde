from flows import Welcome, send_welcome_email

handle = send_welcome_email.run(Welcome(user_id=7), idempotency_key="welcome:7")
print(handle.result(timeout=30))
