// A programme that uses the AWS Encryption SDK for JavaScript and the AWS SDK below it; it speaks
// as encryption_sdk.py does, and finds the service by the variables of AWS alone.

import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.CLIENTS}/`)
const { CommitmentPolicy, KmsKeyringNode, buildClient } = require('@aws-crypto/client-node')

const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

function keyring(asked) {
  if (asked.keys) {
    const [generatorKeyId, ...keyIds] = asked.keys
    return new KmsKeyringNode({ generatorKeyId, keyIds })
  }
  const only = asked.accounts && { accountIDs: asked.accounts, partition: 'aws' }
  return new KmsKeyringNode({ discovery: true, discoveryFilter: only })
}

async function call(asked) {
  const given = Buffer.from(asked.text, 'base64')
  if (asked.do === 'encrypt') {
    const { result } = await client.encrypt(keyring(asked), given, {
      encryptionContext: asked.context, suiteId: asked.suite,
    })
    return { text: result.toString('base64') }
  }
  const { plaintext, messageHeader } = await client.decrypt(keyring(asked), given)
  const found = Object.entries(messageHeader.encryptionContext)
    .filter(([name]) => !name.startsWith('aws-crypto-'))
  return { text: plaintext.toString('base64'), context: Object.fromEntries(found) }
}

for await (const line of createInterface({ input: process.stdin })) {
  let told
  try {
    told = { answer: await call(JSON.parse(line)) }
  } catch (error) {
    told = { error: `${error.name}: ${error.message} ${error.stack}` }
  }
  console.log(JSON.stringify(told))
}
